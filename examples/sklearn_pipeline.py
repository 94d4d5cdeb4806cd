"""A pipeline of three steps: one run, with the parameters of every step. `autotrack run sklearn_pipeline.py`."""

from sklearn.datasets import load_breast_cancer
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

X, y = load_breast_cancer(return_X_y=True)
X_train, X_test, y_train, y_test = train_test_split(X, y, random_state=0)
model = Pipeline(
    [("scale", StandardScaler()), ("pca", PCA(n_components=8)), ("classify", LogisticRegression(C=0.5))]
)
model.fit(X_train, y_train)
print(f"accuracy {model.score(X_test, y_test):.4f}")
