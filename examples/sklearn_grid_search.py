"""A grid search on two worker processes: one run, with a child run for each candidate. `autotrack run sklearn_grid_search.py`."""

from sklearn.datasets import load_wine
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

if __name__ == "__main__":
    X, y = load_wine(return_X_y=True)
    grid = {"svc__C": [0.1, 1.0, 10.0], "svc__gamma": ["scale", 0.01]}
    search = GridSearchCV(make_pipeline(StandardScaler(), SVC()), grid, cv=3, n_jobs=2)
    search.fit(X, y)
    print(f"best {search.best_params_} with accuracy {search.best_score_:.4f}")
